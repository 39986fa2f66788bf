//! One machine's share of the objects: the node protocol in front of its devices, and the workers behind.
