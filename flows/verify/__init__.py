"""The offline verifier, which shares no decoding and no ordering code with the flow."""
