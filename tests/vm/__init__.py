"""What the virtual machines of the tests share: Debian's kernel, a first RAM disk, what this machine must have."""
