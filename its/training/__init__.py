"""Fine-tuning by Axolotl: its configuration, the run, whether what it left is sound."""
