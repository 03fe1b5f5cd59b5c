//! The operations below `/v1`, a module per context.

mod audit;
pub(crate) mod identity;
mod posts;
mod projections;
mod users;

use crate::routes::Routes;

pub(crate) fn routes() -> Routes {
    identity::routes()
        .merge(users::routes())
        .merge(posts::routes())
        .merge(audit::routes())
        .merge(projections::routes())
}
