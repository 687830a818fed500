"""Fine-tuning with Axolotl: its configuration, the run, the check of the checkpoint."""
