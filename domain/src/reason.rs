//! Why staff did something.

use crate::value::{LINES, LINES_OR_NOTHING, ValueError, lines, text_value};

text_value! {
    /// Why staff did something that is kept or shown with it, in their words. Empty when nobody said.
    Reason, 0..=500, lines, LINES_OR_NOTHING
}

impl Reason {
    /// What texts look like whose reason is [`given`](Self::given).
    pub const GIVEN_PATTERN: &str = LINES;

    /// The reason, where there must be one.
    ///
    /// # Errors
    /// [`ValueError::Empty`] when nothing was said.
    pub fn given(self) -> Result<Self, ValueError> {
        if self.0.is_empty() {
            Err(ValueError::Empty)
        } else {
            Ok(self)
        }
    }
}

impl Default for Reason {
    /// Nothing said.
    fn default() -> Self {
        Self(String::new())
    }
}
