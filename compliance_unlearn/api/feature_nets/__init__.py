"""Networks whose features pictures are compared in, one module each; use them through `feature_net`."""
