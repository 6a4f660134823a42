"""The processes of a cluster: they meet before the flow, and each learns when another one ends."""
