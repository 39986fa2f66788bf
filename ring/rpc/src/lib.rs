//! Calls between nodes: the framed, checksummed data protocol and tonic for control.
