"""What a prior is compared with: methods that know less, or the truth itself. One file each."""
