"""The engine as an issuer of identity tokens, and what clouds give for them."""
