"""Training methods (Johnson, CycleGAN, distillation) and the parts they share."""
