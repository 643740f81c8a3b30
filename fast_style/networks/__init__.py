"""Networks: generators, loss networks, the discriminator and their files."""
