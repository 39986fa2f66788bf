//! The engine of one device: objects and listings over the durable floor; knows no network.
