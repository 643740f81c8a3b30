"""Training runs, from a configuration to network files. Only this package and the commands use Hydra."""
