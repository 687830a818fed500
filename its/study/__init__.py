"""What the stages of dvc.yaml share: the active study, its access guard, served models and problem sets."""
