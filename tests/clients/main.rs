//! The clients that people bring, unmodified, as their users run them.
mod object_clients;
mod openstack;
mod ring_interop;
