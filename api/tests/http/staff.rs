//! Who is staff: granted and revoked by admins, and looked up with every request.

use crate::client::{Answer, Person};
use crate::instance::{Api, start};
use reqwest::Method;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use touchline_commands::{Bus, permissions};
use touchline_domain::id::UserId;
use touchline_domain::identity::Permission;
use touchline_testkit::SequentialIds;

/// The operator's own way to the log: each a process of its own, with ids of its own.
fn bus(api: &Api) -> Bus {
    static PROCESSES: AtomicU32 = AtomicU32::new(900);
    let ids = Arc::new(SequentialIds::new(
        PROCESSES.fetch_add(1, Ordering::Relaxed),
    ));
    Bus::new(api.store.clone(), api.clock.clone(), ids)
}

/// Lets somebody do what staff do, by the operator's word.
pub(crate) async fn appoint(api: &Api, who: &Person, granted: &[Permission]) {
    let bus = bus(api);
    let user_id: UserId = who.user_id.parse().unwrap();
    for permission in granted {
        let envelope = bus.envelope(None);
        permissions::grant(&bus, &envelope, user_id, *permission)
            .await
            .unwrap();
    }
}

/// Somebody new who may do this.
pub(crate) async fn staff(api: &Api, handle: &str, granted: &[Permission]) -> Person {
    let person = api.fan(handle).await;
    appoint(api, &person, granted).await;
    person
}

async fn change(api: &Api, who: &Person, method: Method, whom: &str, permission: &str) -> Answer {
    let path = format!("/v1/accounts/{whom}/permissions/{permission}");
    api.call(who, method, &path).await
}

#[tokio::test]
async fn an_admin_grants_and_revokes_and_it_counts_at_once() {
    let api = start().await;
    let admin = staff(&api, "boss.ana", &[Permission::Admin]).await;
    let ben = api.fan("ben").await;
    let look = async || api.call(&ben, Method::GET, "/v1/audit/events").await;
    assert_eq!(look().await.code(), "permission-required");
    assert_eq!(look().await.status, 403);

    let granted = change(&api, &admin, Method::PUT, &ben.user_id, "auditor").await;
    assert_eq!(granted.status, 200, "{}", granted.body);
    assert_eq!(granted.body["permissions"], json!(["auditor"]));
    assert_eq!(look().await.status, 200);
    let account = api.call(&ben, Method::GET, "/v1/accounts/me").await;
    assert_eq!(account.body["permissions"], json!(["auditor"]));
    let events = api.events().await;
    let again = change(&api, &admin, Method::PUT, &ben.user_id, "auditor").await;
    assert_eq!(again.body, granted.body);
    assert_eq!(api.events().await, events, "it changed nothing");

    let revoked = change(&api, &admin, Method::DELETE, &ben.user_id, "auditor").await;
    assert_eq!(revoked.body["permissions"], json!([]));
    assert_eq!(look().await.code(), "permission-required");
}

/// The other node has seen the permission, and asks the log all the same.
#[tokio::test]
async fn a_permission_revoked_on_one_node_is_revoked_on_the_other() {
    let api = start().await;
    let other = api.another_node().await;
    let admin = staff(&api, "boss.ana", &[Permission::Admin]).await;
    let ben = staff(&api, "ben", &[Permission::Auditor]).await;
    let look = async |node: &Api| {
        node.call(&ben, Method::GET, "/v1/audit/events")
            .await
            .status
    };
    assert_eq!((look(&api).await, look(&other).await), (200, 200));
    change(&api, &admin, Method::DELETE, &ben.user_id, "auditor").await;
    assert_eq!((look(&api).await, look(&other).await), (403, 403));
}

#[tokio::test]
async fn only_an_admin_says_who_is_staff() {
    let api = start().await;
    let ben = api.fan("ben").await;
    let everything: Vec<Permission> = Permission::ALL
        .iter()
        .copied()
        .filter(|permission| *permission != Permission::Admin)
        .collect();
    let other_staff = staff(&api, "cleo", &everything).await;
    for who in [&ben, &other_staff] {
        for method in [Method::PUT, Method::DELETE] {
            let refused = change(&api, who, method, &who.user_id, "admin").await;
            assert_eq!(
                (refused.status, refused.code()),
                (403, "permission-required")
            );
        }
        let path = format!("/v1/accounts/{}/approval", ben.user_id);
        let refused = api.call(who, Method::PUT, &path).await;
        assert_eq!(refused.code(), "permission-required");
    }
    let path = format!("/v1/accounts/{}/permissions/auditor", ben.user_id);
    let nobody = api.send(api.request(Method::PUT, &path)).await;
    assert_eq!(
        (nobody.status, nobody.code()),
        (401, "authentication-required")
    );
    // An admin has no other permission by that.
    let admin = staff(&api, "boss.ana", &[Permission::Admin]).await;
    let refused = api.call(&admin, Method::GET, "/v1/audit/events").await;
    assert_eq!(refused.code(), "permission-required");
}

#[tokio::test]
async fn what_there_is_not_is_not_found() {
    let api = start().await;
    let admin = staff(&api, "boss.ana", &[Permission::Admin]).await;
    let nobody = "01920000-0000-7000-8000-000000000003";
    for (whom, permission) in [
        (nobody, "auditor"),
        ("ana", "auditor"),
        (admin.user_id.as_str(), "emperor"),
    ] {
        for method in [Method::PUT, Method::DELETE] {
            let answer = change(&api, &admin, method, whom, permission).await;
            assert_eq!(answer.code(), "not-found", "{whom} {permission}");
        }
    }
    let path = format!("/v1/accounts/{nobody}/approval");
    let answer = api.call(&admin, Method::PUT, &path).await;
    assert_eq!(answer.code(), "not-found");
}

#[tokio::test]
async fn an_account_is_approved_before_it_is_staff() {
    let api = start().await;
    let admin = staff(&api, "boss.ana", &[Permission::Admin]).await;
    let mut body = crate::instance::sign_up_body("coach.dan");
    body["role"] = json!("coach");
    body["experience_years"] = json!(7);
    let dan = api.post("/v1/accounts", &body).await.text("user_id");
    let waits = change(&api, &admin, Method::PUT, &dan, "responder").await;
    assert_eq!((waits.status, waits.code()), (409, "account-not-active"));
    let path = format!("/v1/accounts/{dan}/approval");
    for _ in 0..2 {
        let approved = api.call(&admin, Method::PUT, &path).await;
        assert_eq!(approved.status, 200, "{}", approved.body);
        assert_eq!(approved.body["status"], "active");
    }
    let granted = change(&api, &admin, Method::PUT, &dan, "responder").await;
    assert_eq!(granted.body["permissions"], json!(["responder"]));
    let path = format!("/v1/accounts/{}/approval", admin.user_id);
    let fan = api.call(&admin, Method::PUT, &path).await;
    assert_eq!((fan.status, fan.code()), (409, "approval-not-needed"));
}

#[tokio::test]
async fn nobody_signs_up_as_staff() {
    let api = start().await;
    for permission in Permission::ALL {
        let mut body = crate::instance::sign_up_body("eve");
        body["role"] = json!(permission.as_str());
        let refused = api.post("/v1/accounts", &body).await;
        assert_eq!((refused.status, refused.code()), (400, "staff-role"));
    }
    assert_eq!(api.events().await, 0);
}
