//! What happens to an account.

use super::{AccountStatus, DisplayName, Email, Gender, Handle, RoleDetails, Sport};
use crate::clock::Timestamp;
use crate::id::UserId;
use serde::{Deserialize, Serialize};

/// Somebody signed up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccountRegistered {
    /// The new account.
    pub user_id: UserId,
    /// The address that signs in.
    pub email: Email,
    /// The public short name.
    pub handle: Handle,
    /// The public full name.
    pub display_name: DisplayName,
    /// The sport that the account is about.
    pub sport: Sport,
    /// As told by the person.
    pub gender: Gender,
    /// The role, with the fields that it demands.
    pub role: RoleDetails,
    /// Active at once, or waiting for approval, by the role.
    pub status: AccountStatus,
    /// When.
    pub registered_at: Timestamp,
}

/// Staff let a waiting account in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccountApproved {
    /// The account.
    pub user_id: UserId,
    /// Who approved; none for the operator at the command line.
    pub approved_by: Option<UserId>,
    /// When.
    pub approved_at: Timestamp,
}

crate::events! {
    /// What happens to an account.
    pub enum AccountEvent {
        "identity.account_registered" v "1" => AccountRegistered,
        "identity.account_approved" v "1" => AccountApproved,
    }
}
