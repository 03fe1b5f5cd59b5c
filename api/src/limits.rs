//! Every limit of the API, in one place. docs/limits.md lists them; tests try each at its value and
//! one beyond.

use std::time::Duration;

/// The most bytes of a request body.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// The most arrays and objects inside one another in a request body, the outermost included.
pub const JSON_DEPTH_MAX: usize = 32;
/// The most characters of an `Idempotency-Key`.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;
/// The most items of a page.
pub const PAGE_ITEMS_MAX: u16 = 100;
/// The items of a page when the request does not say.
pub const PAGE_ITEMS_DEFAULT: u16 = 50;
/// The most bytes of a cursor; a real one is far shorter.
pub const CURSOR_BYTES_MAX: usize = 512;
/// The most digits of a position in a request; a real one is far shorter.
pub const POSITION_DIGITS_MAX: usize = 18;
/// The fewest characters of a request id that is taken over from the client.
pub const REQUEST_ID_CHARS_MIN: usize = 8;
/// The most characters of a request id that is taken over from the client.
pub const REQUEST_ID_CHARS_MAX: usize = 64;
/// The longest that a read waits for its read model to reach a `Consistency-Token`.
pub const WAIT_MAX: Duration = Duration::from_secs(5);
/// The most connections that a process keeps open at once, unless it is started with another number.
/// One is about 20 KiB of memory while nothing is asked on it.
pub const CONNECTIONS_MAX: u32 = 4_096;
/// The most of them from one address, or from one IPv6 network of 64 bits, which is what a household
/// or a rented server has.
pub const CONNECTIONS_PER_ADDRESS_MAX: u32 = 256;
/// How long an access token is good for.
pub const ACCESS_TOKEN_LIFETIME: Duration = Duration::from_mins(10);

/// The times after which a request is given up. They are settings only so that a test need not wait.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// For the body to arrive.
    pub body: Duration,
    /// For the whole request, the body included.
    pub request: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            body: Duration::from_secs(10),
            request: Duration::from_secs(20),
        }
    }
}
