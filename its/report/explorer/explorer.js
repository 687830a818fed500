"use strict";
(async () => {
  const $ = (id) => document.getElementById("x-" + id);
  const root = document.getElementById("explorer");
  if (!root || typeof DecompressionStream !== "function") return;
  const PAGE = 25, SIDE = 4;
  const MARKS = "cine?.", NONE = MARKS.indexOf(".");
  const NAMES = { c: "correct", i: "incorrect", n: "no answer", e: "grader error", "?": "no verdict", ".": "no response" };
  const SIGNS = { c: "\u2713", i: "\u2717", n: "\u2013", e: "!", "?": "?", ".": "\u00b7" };
  const LOOKS = { c: "good", i: "bad", e: "bad", n: "open", "?": "open", ".": "faded" };
  // Every text of the study is set as text: no markup is ever parsed here.
  const make = (name, values = {}, ...children) => {
    const out = Object.assign(document.createElement(name), values);
    out.append(...children);
    return out;
  };

  const unpack = async (id) => {
    const raw = atob($(id).textContent.trim());
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    return new Response(stream).text();
  };
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));  // the page is painted first
  const { cells, rules, problems } = JSON.parse(await unpack("marks"));
  const texts = new Map();
  const seen = [];
  const once = (value) => { if (typeof value === "number") return seen[value]; seen.push(value); return value; };
  for (const line of (await unpack("texts")).split("\n")) {
    if (!line) continue;
    const [cell, problem, sample, response, thinking, answer, reason, known, persona, query] = JSON.parse(line);
    const text = { response, thinking, answer, reason, known: once(known), persona: once(persona), query: once(query), folded: null };
    texts.set(cell + "/" + problem + "/" + sample, text);
  }
  const textOf = (cell, problem, sample) => texts.get(cell + "/" + problem + "/" + sample);
  const folded = (text) =>
    (text.folded ??= [text.response, text.thinking || "", text.known[0], ...text.persona].join("\n").toLowerCase());
  // Once, so that a filter reads numbers alone: the marks of a cell as bytes, and what each problem counts in it.
  for (const cell of cells) {
    const places = cell.marks.length;
    cell.codes = new Uint8Array(places);
    cell.cuts = new Uint8Array(places);
    cell.rules = Uint16Array.from(cell.rules);
    cell.right = new Uint32Array(places / cell.samples);
    cell.given = new Uint32Array(places / cell.samples);
    cell.cut = new Uint32Array(places / cell.samples);
    for (let at = 0; at < places; at++) {
      const problem = Math.floor(at / cell.samples);
      cell.codes[at] = MARKS.indexOf(cell.marks[at]);
      cell.cuts[at] = cell.ends[at] === "l";
      cell.right[problem] += cell.marks[at] === "c";
      cell.given[problem] += cell.marks[at] !== ".";
      cell.cut[problem] += cell.cuts[at];
    }
  }
  const nameOf = (cell) => [cell.checkpoint, cell.benchmark, cell.test].join("/");
  const pairOf = (cell) => (cell.train || "base") + " \u2192 " + cell.test;
  const alike = new Map();
  for (const cell of cells) {
    const key = cell.benchmark + " " + pairOf(cell);
    alike.set(key, (alike.get(key) || 0) + 1);
  }
  // Cells of several seeds, models or datasets have the same strategies: their checkpoint tells them apart.
  const titleOf = (cell) => pairOf(cell) + (alike.get(cell.benchmark + " " + pairOf(cell)) > 1 ? ", " + cell.checkpoint : "");
  const isCut = (cell, at) => cells[cell].cuts[at] === 1;

  // State: the filters are the values of the controls; `open` is the entry that is shown.
  let shown = [], page = 0, open = null, from = null, here = [];
  const option = (value, text) => make("option", { value, textContent: text });
  const benchmark = () => $("benchmark").value;
  const fill = (name, list, any) => {
    const old = $(name).value;
    $(name).replaceChildren(option("", any), ...list);
    if ([...$(name).options].some((each) => each.value === old)) $(name).value = old;
  };
  $("benchmark").replaceChildren(...Object.keys(problems).map((name) => option(name, name)));
  const columns = () => {
    here = cells.map((_, number) => number).filter((number) => cells[number].benchmark === benchmark());
    const list = () => here.map((number) => option(nameOf(cells[number]), pairOf(cells[number]) + " (" + cells[number].checkpoint + ")"));
    fill("cell", list(), "all");
    fill("right", list(), "\u2014");
    fill("wrong", list(), "\u2014");
  };
  columns();
  const used = new Set(cells.flatMap((cell) => [...cell.marks]));
  fill("verdict", Object.keys(NAMES).filter((mark) => used.has(mark)).map((mark) => option(mark, NAMES[mark])), "all");
  fill("rule", rules.map((rule, number) => option(String(number), rule)).slice(1), "all");

  const numberOf = (name) => here.find((number) => nameOf(cells[number]) === name);
  // The value of the cell filter is one name, or several with a space between: the seeds of a cell of the table.
  const numbersOf = (names) => names.split(" ").map(numberOf).filter((number) => number !== undefined);
  const select = () => {
    const chosen = numbersOf($("cell").value), verdict = $("verdict").value, rule = $("rule").value, cut = $("cut").value;
    const right = numberOf($("right").value), wrong = numberOf($("wrong").value);
    const wanted = $("search").value.trim().toLowerCase();
    const scope = chosen.length ? chosen : here;
    const names = problems[benchmark()] || [];
    const code = MARKS.indexOf(verdict || "none"), number = rule ? Number(rule) : -1, end = cut ? Number(cut === "yes") : -1;
    const all = !(verdict || rule || cut || wanted);
    const share = (cell, problem) => (cells[cell].given[problem] ? cells[cell].right[problem] / cells[cell].given[problem] : -1);
    const out = [];
    let matches = 0, unread = 0;
    for (let problem = 0; problem < names.length; problem++) {
      if (right !== undefined && share(right, problem) <= 0) continue;
      if (wrong !== undefined) {
        const b = share(wrong, problem);
        if (b < 0 || b === 1 || (right !== undefined && share(right, problem) <= b)) continue;
      }
      const named = wanted && names[problem].toLowerCase().includes(wanted);
      const found = new Set();
      for (const each of scope) {
        const { codes, cuts, rules: ruled, samples } = cells[each];
        for (let sample = 0, at = problem * samples; sample < samples; sample++, at++) {
          if (codes[at] === NONE && !all && code !== NONE) continue;
          if (code >= 0 && codes[at] !== code) continue;
          if (number >= 0 && ruled[at] !== number) continue;
          if (end >= 0 && cuts[at] !== end) continue;
          if (wanted && !named) {
            const text = textOf(each, problem, sample);
            if (!text) { unread += codes[at] !== NONE; continue; }
            if (!folded(text).includes(wanted)) continue;
          }
          found.add(each);
          matches += codes[at] !== NONE;
        }
      }
      if (found.size) out.push({ problem, found });
    }
    shown = out;
    const counted = (count, noun) => count + " " + noun + (count === 1 ? "" : "s");
    const unsearched = !unread ? "" : unread === 1 ? "; the text of 1 response is not in this page and was not searched"
      : "; the texts of " + unread + " responses are not in this page and were not searched";
    $("count").textContent = out.length + " of " + counted(names.length, "problem") + ", " + counted(matches, "response") +
      (matches === 1 ? " matches" : " match") + unsearched;
  };

  // The table has the rows of one page. They are made once for a benchmark and then only change what they say.
  const scoped = (text) => make("th", { scope: "col", textContent: text });
  let drawn = null, lines = [];
  const prepare = () => {
    const head = make("tr", {}, scoped("problem"), ...here.map((number) => {
      const th = scoped(titleOf(cells[number]));
      th.title = nameOf(cells[number]);
      return th;
    }));
    lines = Array.from({ length: Math.min(PAGE, (problems[benchmark()] || []).length) }, () => {
      const name = make("th", { scope: "row" });
      const buttons = here.map((number) => {
        const button = make("button", { type: "button", tabIndex: -1 });
        button.dataset.cell = number;
        return button;
      });
      return { row: make("tr", {}, name, ...buttons.map((button) => make("td", {}, button))), name, buttons };
    });
    $("table").replaceChildren(make("thead", {}, head), make("tbody", {}, ...lines.map((line) => line.row)));
    drawn = here;
  };
  const put = (target, name, value) => { if (target[name] !== value) target[name] = value; };
  const tell = (button, number, { problem, found }) => {
    const cell = cells[number], right = cell.right[problem], given = cell.given[problem], cut = cell.cut[problem];
    const one = cell.samples === 1, mark = cell.marks[problem * cell.samples];
    put(button, "textContent", (one ? SIGNS[mark] : right + "/" + given) + (cut ? " cut" : ""));
    put(button, "className", !found.has(number) ? "faded" : one ? LOOKS[mark] : given && right === given ? "good" : right ? "open" : "bad");
    const told = one ? NAMES[mark] : right + " of " + given + " correct";
    put(button, "ariaLabel", problems[benchmark()][problem] + ", " + titleOf(cell) + ": " + told + (cut ? ", cut at the limit" : ""));
    button.dataset.problem = problem;
  };
  const draw = () => {
    if (drawn !== here) prepare();
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    const entries = shown.slice(page * PAGE, (page + 1) * PAGE), body = $("table").tBodies[0];
    if (body.rows.length !== entries.length) body.replaceChildren(...lines.slice(0, entries.length).map((line) => line.row));
    entries.forEach((entry, place) => {
      const { name, buttons } = lines[place];
      put(name, "textContent", problems[benchmark()][entry.problem]);
      here.forEach((number, column) => tell(buttons[column], number, entry));
    });
    for (const each of $("table").querySelectorAll("[tabindex='0']")) each.tabIndex = -1;
    if (entries.length && here.length) lines[0].buttons[0].tabIndex = 0;
    $("page").textContent = "page " + (page + 1) + " of " + pages;
    $("before").disabled = page === 0;
    $("after").disabled = page === pages - 1;
  };

  // Permalinks: everything that is chosen, in the fragment.
  const FIELDS = ["cell", "verdict", "rule", "cut", "right", "wrong", "search"];
  const keep = () => {
    const parts = new URLSearchParams();
    const names = { ...Object.fromEntries(FIELDS.map((name) => [name, $(name).value])) };
    if (names.rule) names.rule = rules[names.rule];
    if (!names.cell) parts.set("benchmark", benchmark());
    for (const each of names.cell.split(" ")) if (each) parts.append("cell", each);
    for (const name of FIELDS.slice(1)) if (names[name]) parts.set(name, names[name]);
    if (open) {
      parts.set("problem", problems[benchmark()][open.problem]);
      parts.set("sample", open.sample);
      for (const number of open.beside) parts.append("beside", nameOf(cells[number]));
    }
    try { history.replaceState(null, "", "#" + parts); } catch { /* a viewer that forbids it: the page works without */ }
  };
  const follow = () => {
    const parts = new URLSearchParams(location.hash.slice(1));
    if (!parts.has("cell") && !parts.has("benchmark")) return false;
    const cell = cells.find((each) => nameOf(each) === parts.get("cell"));
    const name = cell ? cell.benchmark : parts.get("benchmark");
    if (name === null || !Object.hasOwn(problems, name)) return false;
    $("benchmark").value = name;
    columns();
    const several = numbersOf(parts.getAll("cell").join(" ")).map((number) => nameOf(cells[number])).join(" ");
    if (several.includes(" ")) {
      const told = pairOf(cell) + " (" + several.split(" ").length + " checkpoints)";
      if (![...$("cell").options].some((each) => each.value === several)) $("cell").append(option(several, told));
    }
    for (const field of FIELDS) {
      const value = (field === "cell" ? several : parts.get(field)) || "";
      $(field).value = field === "rule" && value ? String(rules.indexOf(value)) : value;
      if ($(field).selectedIndex === -1) $(field).value = "";
    }
    const problem = problems[name].indexOf(parts.get("problem"));
    open = null;
    page = 0;
    select();
    if (problem >= 0) {
      const beside = parts.getAll("beside").map(numberOf).filter((number) => number !== undefined);
      show(problem, beside.length ? beside : defaults(numbersOf($("cell").value)), Number(parts.get("sample")) || 0, false);
    }
    draw();
    if (open) $("case").scrollIntoView(); else { $("case").hidden = true; document.getElementById("responses").scrollIntoView(); }
    return true;
  };
  const refresh = () => { page = 0; select(); draw(); keep(); };

  // The opened problem, side by side across cells.
  const defaults = (numbers) => {
    const named = [...numbers, numberOf($("right").value), numberOf($("wrong").value), ...numbersOf($("cell").value)];
    return [...new Set([...named.filter((each) => each !== undefined), ...here])].slice(0, SIDE).sort((a, b) => a - b);
  };
  const label = (text) => make("p", { className: "label", textContent: text });
  const plain = (text) => make("div", { className: "verbatim", textContent: text === null || text === "" ? "\u2014" : text, tabIndex: 0 });
  const fold = (title, ...children) => make("details", {}, make("summary", { textContent: title }), ...children);
  let source = false;
  const rich = (text) => {
    const out = plain(text);
    if (!source && text) out.replaceChildren(...mathematics(text));
    return out;
  };
  const card = (number, problem, sample) => {
    const cell = cells[number], at = problem * cell.samples + sample, mark = sample < cell.samples ? cell.marks[at] : ".";
    const out = make("article", { className: "card" }, make("h4", {}, titleOf(cell) + ": ", make("span", { className: "tag " + NAMES[mark].replace(" ", "_"), textContent: NAMES[mark] })),
      make("p", { className: "terms", textContent: nameOf(cell) }));
    if (mark === ".") return out;
    const end = { s: "ended by itself", l: "cut at the limit", e: "ended by an error" }[cell.ends[at]] || "end unknown";
    const rule = rules[cell.rules[at]];
    out.append(make("p", { className: "terms", textContent: end + ", " + cell.tokens[at] + " tokens" + (rule ? ", answer found by " + rule : "") }));
    const text = textOf(number, problem, sample);
    if (!text) {
      out.append(make("p", { textContent: "The text is not in this page: " + cell.path }));
      return out;
    }
    const parts = [text.known[0], ...text.persona];
    const query = text.query.map(([role, pieces]) => "[" + role + "]\n" + pieces.map((piece) => (typeof piece === "number" ? parts[piece] : piece)).join("")).join("\n\n");
    out.append(label("persona"), rich(text.persona.join("\n\n")), fold("query as sent", plain(query)));
    if (text.thinking) out.append(fold("thinking, " + text.thinking.length + " characters", rich(text.thinking)));
    out.append(label("response"), rich(text.response), label("answer"), plain(text.answer));
    if (text.reason) out.append(label("why the grader could not decide"), plain(text.reason));
    return out;
  };
  const show = (problem, beside, sample, focus = true) => {
    const most = Math.max(...here.map((number) => cells[number].samples));
    open = { problem, beside, sample: Math.min(Math.max(sample, 0), most - 1) };
    const any = here.flatMap((number) => [...Array(cells[number].samples).keys()].map((each) => textOf(number, problem, each))).find(Boolean);
    const title = make("h3", { id: "x-case-title", textContent: "Problem " + problems[benchmark()][problem] });
    const bar = make("p", { className: "pages" });
    const press = (text, act) => { const out = make("button", { type: "button", textContent: text }); out.addEventListener("click", act); bar.append(out, " "); };
    press("previous problem", () => step(-1));
    press("next problem", () => step(1));
    press(source ? "show mathematics" : "show source", () => { source = !source; show(open.problem, open.beside, open.sample); });
    press("close", close);
    if (most > 1) {
      const picker = make("select", { id: "x-sample" }, ...[...Array(most).keys()].map((each) => option(String(each), String(each + 1))));
      picker.value = String(open.sample);
      picker.addEventListener("change", () => show(open.problem, open.beside, Number(picker.value)));
      bar.append(make("label", {}, "response ", picker, " of " + most));
    }
    const chooser = make("div", { className: "chooser", role: "group" });
    chooser.setAttribute("aria-label", "cells side by side");
    for (const number of here) {
      const box = make("input", { type: "checkbox", checked: beside.includes(number) });
      box.addEventListener("change", () => {
        const chosen = here.filter((each) => (each === number ? box.checked : open.beside.includes(each)));
        show(open.problem, chosen, open.sample);
      });
      chooser.append(make("label", { title: nameOf(cells[number]) }, box, " " + titleOf(cells[number])));
    }
    const given = any ? [label("problem"), rich(any.known[0]), label("reference"), plain(any.known[1])] : [];
    $("case").replaceChildren(title, bar, chooser, ...given, make("div", { className: "cards" }, ...beside.map((number) => card(number, problem, open.sample))));
    $("case").hidden = false;
    if (focus) { $("case").focus({ preventScroll: true }); $("case").scrollIntoView(); keep(); }
  };
  const step = (by) => {
    const at = shown.findIndex((row) => row.problem === open.problem);
    const next = shown[at < 0 ? 0 : at + by];
    if (next) show(next.problem, open.beside, 0);
  };
  const close = () => {
    const last = open;
    open = null;
    $("case").hidden = true;
    const back = from && from.isConnected ? from : last && $("table").querySelector('button[data-problem="' + last.problem + '"]');
    if (back) back.focus();
    keep();
  };

  const move = (rows, across) => {
    const buttons = [...$("table").querySelectorAll("tbody button")];
    if (!buttons.length) return;
    const at = buttons.indexOf(document.activeElement);
    const next = at < 0 ? 0 : at + rows * here.length + across;
    if (next < 0 || next >= buttons.length) return;
    for (const each of buttons) each.tabIndex = -1;
    buttons[next].tabIndex = 0;
    buttons[next].focus();
  };
  $("table").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    from = button;
    show(Number(button.dataset.problem), defaults([Number(button.dataset.cell)]), 0);
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox";
    if (event.key === "Escape" && open) { close(); event.preventDefault(); return; }
    if (typing) return;
    const inside = root.contains(document.activeElement);
    const keys = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1], j: [1, 0], k: [-1, 0], l: [0, 1], h: [0, -1] };
    if (event.key === "/") { $("search").focus(); event.preventDefault(); }
    else if (open && (event.key === "n" || event.key === "p")) step(event.key === "n" ? 1 : -1);
    else if (inside && $("table").contains(document.activeElement) && event.key in keys) { move(...keys[event.key]); event.preventDefault(); }
    else if (!open && (event.key === "j" || event.key === "k")) move(...keys[event.key]);
  });
  $("benchmark").addEventListener("change", () => { columns(); if (open) close(); refresh(); });
  for (const name of FIELDS.slice(0, -1)) $(name).addEventListener("change", refresh);
  let waiting = 0;  // letters that arrive within one frame are one search
  $("search").addEventListener("input", () => { waiting ||= requestAnimationFrame(() => { waiting = 0; refresh(); }); });
  $("reset").addEventListener("click", () => { for (const name of FIELDS) $(name).value = ""; refresh(); });
  $("before").addEventListener("click", () => { page -= 1; draw(); });
  $("after").addEventListener("click", () => { page += 1; draw(); });
  addEventListener("hashchange", follow);

  // Mathematics: the common part of TeX as MathML; what is not known stays as its source.
  const SPACE = $("math").namespaceURI;
  const SYMBOLS = { times: "\u00d7", cdot: "\u22c5", div: "\u00f7", pm: "\u00b1", mp: "\u2213", le: "\u2264", leq: "\u2264", ge: "\u2265", geq: "\u2265", ne: "\u2260", neq: "\u2260", approx: "\u2248", equiv: "\u2261", infty: "\u221e", pi: "\u03c0", alpha: "\u03b1", beta: "\u03b2", gamma: "\u03b3", delta: "\u03b4", epsilon: "\u03f5", theta: "\u03b8", lambda: "\u03bb", mu: "\u03bc", rho: "\u03c1", sigma: "\u03c3", tau: "\u03c4", phi: "\u03d5", omega: "\u03c9", Delta: "\u0394", Omega: "\u03a9", Sigma: "\u03a3", sum: "\u2211", prod: "\u220f", int: "\u222b", in: "\u2208", cup: "\u222a", cap: "\u2229", to: "\u2192", rightarrow: "\u2192", Rightarrow: "\u21d2", implies: "\u21d2", circ: "\u2218", angle: "\u2220", ldots: "\u2026", dots: "\u2026", cdots: "\u22ef", mid: "|", "{": "{", "}": "}", "%": "%", "$": "$", "&": "&", "#": "#", "_": "_" };
  const SPACES = new Set([",", ";", ":", "!", " ", "quad", "qquad"]);
  const WORDS = new Set(["sin", "cos", "tan", "log", "ln", "exp", "gcd", "lcm", "min", "max", "lim", "mod"]);
  const node = (name, ...children) => { const out = document.createElementNS(SPACE, name); out.append(...children); return out; };
  const converted = (tex) => {
    const tokens = tex.match(/\\(?:text|mbox)\s*\{[^{}]*\}|\\[a-zA-Z]+|\\[^]|[0-9]+(?:[.,][0-9]+)*|[^\s]/g) || [];
    let at = 0, depth = 0;
    const raw = () => {  // the source of a group, as words
      if (tokens[at] !== "{") throw new Error("no group");
      const words = [];
      for (at++; tokens[at] !== "}"; at++) { if (at >= tokens.length || tokens[at] === "{") throw new Error("group"); words.push(tokens[at]); }
      at++;
      return words;
    };
    const row = (end) => {
      if (++depth > 40) throw new Error("too deep");
      const out = [];
      while (at < tokens.length && tokens[at] !== end) out.push(scripted());
      if (end !== undefined && at++ >= tokens.length) throw new Error("not closed");
      depth--;
      return node("mrow", ...out);
    };
    const scripted = () => {
      let base = atom(), sub = null, sup = null;
      while (tokens[at] === "^" || tokens[at] === "_") {
        const up = tokens[at++] === "^";
        if (up ? sup : sub) throw new Error("double");
        if (up) sup = atom(); else sub = atom();
      }
      if (sub && sup) return node("msubsup", base, sub, sup);
      return sup ? node("msup", base, sup) : sub ? node("msub", base, sub) : base;
    };
    const atom = () => {
      const token = tokens[at++];
      if (token === undefined || token === "}" || token === "^" || token === "_" || token === "&") throw new Error("not known");
      if (token === "{") return row("}");
      if (/^[0-9]/.test(token)) return node("mn", token);
      if (token[0] !== "\\") return node(/[a-zA-Z]/.test(token) ? "mi" : "mo", token);
      if (token.endsWith("}") && token.length > 2) return node("mtext", token.slice(token.indexOf("{") + 1, -1));
      const name = token.slice(1);
      if (/^[dt]?frac$/.test(name)) { const top = atom(); return node("mfrac", top, atom()); }
      if (name === "sqrt") {
        if (tokens[at] !== "[") return node("msqrt", atom());
        at++;
        const index = row("]");
        return node("mroot", atom(), index);
      }
      if (name === "boxed" || name === "fbox") { const out = node("mrow", atom()); out.setAttribute("class", "boxed"); return out; }
      if (name === "left" || name === "right") { const sign = tokens[at++]; return node("mo", sign === "." ? "" : sign && sign[0] === "\\" ? SYMBOLS[sign.slice(1)] || fail() : sign || fail()); }
      if (["mathbf", "mathrm", "mathbb", "mathit", "operatorname"].includes(name)) return node("mi", raw().join(""));
      if (SPACES.has(name)) return node("mspace");
      if (WORDS.has(name)) return node("mi", name);
      if (Object.hasOwn(SYMBOLS, name)) return node("mo", SYMBOLS[name]);
      return fail();
    };
    const fail = () => { throw new Error("not known"); };
    const out = node("math", row());
    return out;
  };
  // Dollars are prices more often than mathematics: "$6 each and pays with $120" and "$<<2*3=6>>6" stay as they are.
  const priced = (inner, after) =>
    /^\s/.test(inner) !== /\s$/.test(inner) || /\d/.test(after) || /^[,.;:)]|<<|>>/.test(inner) ||
    /[a-z]\s+[a-z]{3}|[a-z]{3}\s+[a-z]|\s[a-z]{3,}\s/i.test(inner.replace(/\\(?:text|mbox)\s*\{[^{}]*\}|\\[a-zA-Z]+/g, " \\ "));
  const mathematics = (text) => {
    // No pair contains another of its kind: a loop of openings that never close is read once, not once for each.
    const out = [];
    const search = /\$\$([^$]{1,2000})\$\$|(?<!\\)\$((?:\\.|[^$\\\n]){1,500})\$|\\\(((?:\\[^()]|[^\\]){1,1000})\\\)|\\\[((?:\\[^[\]]|[^\\]){1,2000})\\\]/g;
    let end = 0, count = 0, found;
    while ((found = search.exec(text)) && ++count <= 2000) {
      const inner = found[1] ?? found[2] ?? found[3] ?? found[4];
      try {
        if (found[2] && priced(inner, text[search.lastIndex] || "")) throw new Error("prices");
        const math = converted(inner);
        math.setAttribute("aria-label", inner);
        if (found[1] ?? found[4]) math.setAttribute("display", "block");
        out.push(text.slice(end, found.index), math);
        end = search.lastIndex;
      } catch { search.lastIndex = found.index + 1; /* stays as it is written; its last dollar may begin a formula */ }
    }
    out.push(text.slice(end));
    return out;
  };

  document.getElementById("explorer-off").hidden = true;
  root.hidden = false;
  if (!follow()) { select(); draw(); }
  root.dataset.ready = "yes";
  // The texts in lower case, made while nothing else is to do: the first search then waits for none of them.
  const rest = texts.values();
  const idle = window.requestIdleCallback || ((act) => setTimeout(() => act({ timeRemaining: () => 8 }), 20));
  const ready = (time) => {
    for (let next = rest.next(); !next.done; next = rest.next()) {
      folded(next.value);
      if (time.timeRemaining() < 2) { idle(ready); return; }
    }
  };
  idle(ready);
})();
