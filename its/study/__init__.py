"""What the stages of dvc.yaml share: the active study, its access guard, what serves models, its problem sets."""
