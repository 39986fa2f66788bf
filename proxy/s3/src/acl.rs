//! Access lists of buckets and of objects.
//!
//! READ and WRITE of a bucket are kept where the other dialect keeps them, in
//! `X-Container-Read` and `X-Container-Write`, so both dialects agree: who may
//! read a bucket may list it and read the objects in it. The rest of a bucket's
//! list, and the lists of objects, are system metadata. [`crate::access`] asks
//! what they give.
mod bucket;
mod grants;
mod object;

pub(crate) use bucket::{
    Lists, get as get_of_bucket, hold, lists, of_new_bucket, put as put_of_bucket, release,
};
pub(crate) use bucket::{gives, is_more_than_private};
pub(crate) use grants::{Acl, Guest, Permission, owner};
pub(crate) use object::{ObjectAcl, get as get_of_object, is_stored, of_new_object, put as put_of_object};
