"""Several modalities against single ones, and three ways to join them."""
