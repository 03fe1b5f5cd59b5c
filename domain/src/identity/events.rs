//! What happens to an account.

use super::{
    AccountStatus, DisplayName, Email, Gender, Handle, Permission, Role, RoleDetails, Sport,
};
use crate::clock::Timestamp;
use crate::id::UserId;
use crate::personal::Personal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Somebody signed up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccountRegistered {
    /// The new account.
    pub user_id: UserId,
    /// The address that signs in.
    pub email: Personal<Email>,
    /// The public short name.
    pub handle: Personal<Handle>,
    /// The public full name.
    pub display_name: Personal<DisplayName>,
    /// The sport that the account is about.
    pub sport: Personal<Sport>,
    /// As told by the person.
    pub gender: Personal<Gender>,
    /// The role. It outlives an erasure: what others trusted an account with is no secret of its.
    pub role: Role,
    /// The fields that the role demands.
    pub role_details: Personal<RoleDetails>,
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

/// The first admin of the installation was made. There is one, and nobody takes that away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RootAppointed {
    /// The account.
    pub user_id: UserId,
    /// When.
    pub appointed_at: Timestamp,
}

/// An account may do what staff do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PermissionGranted {
    /// The account.
    pub user_id: UserId,
    /// What it may do.
    pub permission: Permission,
    /// Who granted it; none for the operator at the command line.
    pub granted_by: Option<UserId>,
    /// When.
    pub granted_at: Timestamp,
}

/// An account may do that no more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PermissionRevoked {
    /// The account.
    pub user_id: UserId,
    /// What it might do.
    pub permission: Permission,
    /// Who revoked it; none for the operator at the command line.
    pub revoked_by: Option<UserId>,
    /// When.
    pub revoked_at: Timestamp,
}

/// A person, and everything that they wrote, was erased. Read models forget them; their key is
/// destroyed, so that what came before says nothing any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccountErased {
    /// Who is forgotten.
    pub user_id: UserId,
    /// Who erased; none for the operator at the command line.
    pub erased_by: Option<UserId>,
    /// When.
    pub erased_at: Timestamp,
}

/// Version 1 had the role inside of its fields: `"role": {"role": "coach", …}`.
fn role_apart(mut fields: Map<String, Value>) -> Map<String, Value> {
    if let Some(details) = fields.remove("role") {
        let role = details.get("role").cloned().unwrap_or_default();
        fields.insert("role".to_owned(), role);
        fields.insert("role_details".to_owned(), details);
    }
    fields
}

crate::events! {
    /// What happens to an account.
    pub enum AccountEvent {
        "identity.account_registered" v "2" => AccountRegistered
            personal(user_id: email, handle, display_name, sport, gender, role_details)
            from "1" by role_apart,
        "identity.account_approved" v "1" => AccountApproved,
        "identity.account_erased" v "1" => AccountErased,
        "identity.root_appointed" v "1" => RootAppointed,
        "identity.permission_granted" v "1" => PermissionGranted,
        "identity.permission_revoked" v "1" => PermissionRevoked,
    }
}
