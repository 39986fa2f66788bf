//! What somebody is told who may not: who was judged, for which action, and
//! why, as far as that is theirs to know.
//!
//! Strangers hear the same sentence whatever a bucket's policy says, and also
//! where there is no such bucket.
use s3s::{S3Error, S3ErrorCode};

use super::access::Asker;
use super::acl::Guest;

/// Why a request is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Nothing allows it.
    Nothing,
    /// The policy of the bucket denies it.
    Policy,
}

impl Why {
    fn sentence(self, guest: Guest<'_>) -> &'static str {
        match (self, guest) {
            (Self::Policy, Guest::Member) => "the policy of the bucket denies it",
            (Self::Policy, Guest::Nobody | Guest::Of(_)) | (Self::Nothing, _) => {
                "no role on the bucket's project, no policy of the bucket and no access list allows it"
            }
        }
    }
}

impl Asker {
    /// The error for who may not do `action`.
    pub(crate) fn refused(&self, action: &str, why: Why) -> S3Error {
        let caller = self.caller.as_ref();
        let user = caller.map_or("anonymous", |caller| caller.user_id.as_str());
        let why = why.sentence(self.guest());
        let says = format!("User {user} is not authorized to perform {action}: {why}.");
        S3Error::with_message(S3ErrorCode::AccessDenied, says)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_members_of_the_project_hear_what_the_policy_says() {
        let nothing = Why::Nothing.sentence(Guest::Nobody);
        for guest in [Guest::Nobody, Guest::Of("q")] {
            assert_eq!(Why::Policy.sentence(guest), nothing);
            assert_eq!(Why::Nothing.sentence(guest), nothing);
        }
        assert_eq!(Why::Nothing.sentence(Guest::Member), nothing);
        assert_ne!(Why::Policy.sentence(Guest::Member), nothing);
    }
}
