"""Check: could a node serve an event? In a batch, alone, and what events share."""
