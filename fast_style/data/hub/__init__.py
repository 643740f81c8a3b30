"""Photos from the Hugging Face Hub and from files at any URL."""
