"""Each step as the original does it, written anew in its simplest form: what we compare with."""
