"""From a configuration to a trained network; the only place that knows Hydra."""
