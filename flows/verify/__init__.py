"""The parts of the offline verifier. They share no decoding and no ordering code with the flow that they judge."""
