"""Runs programs of an engine environment in forks of a process that has imported its libraries already.

    python fork_server.py SOCKET MODULE...

Imports the modules, says `ready`, and serves clients (`tests.integration.preloaded`): each sends its standard streams
and one line {program, arguments, variables, folder}, and receives the exit code of the program. A program is a path, or
`module:function`. Each runs in its own process, as it would alone; when its client is gone it is killed.
"""

import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import traceback


def run(task):
    """The program, in this process; returns its exit code."""
    os.environ.clear()
    os.environ.update(task["variables"])
    os.chdir(task["folder"])
    sys.path[:0] = [path for path in task["variables"].get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.argv = [task["program"], *task["arguments"]]
    try:
        if ":" in task["program"]:
            module, _, function = task["program"].partition(":")
            getattr(importlib.import_module(module), function)()
        else:
            sys.path.insert(0, os.path.dirname(task["program"]))
            runpy.run_path(task["program"], run_name="__main__")
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        return error.code if isinstance(error.code, int) else 1 if error.code else 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def serve(connection):
    """One client, in a fork of the server."""
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("r", encoding="utf-8") as lines:
        task = json.loads(lines.readline())
    job = os.fork()
    if not job:
        connection.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode) for n, mode in ((0, "r"), (1, "w"), (2, "w")))
        code = run(task)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    for stream in streams:
        os.close(stream)
    while True:
        ended, status = os.waitpid(job, os.WNOHANG)
        if ended:
            connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
            return
        if select.select([connection], [], [], 0.05)[0]:  # the client is gone
            os.kill(job, signal.SIGKILL)
            os.waitpid(job, 0)
            return


def main():
    path, *modules = sys.argv[1:]
    for module in modules:
        importlib.import_module(module)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listener.accept()
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            serve(connection)
            os._exit(0)
        connection.close()


if __name__ == "__main__":
    main()
