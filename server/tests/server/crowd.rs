//! Clients at work, each one thing after the other, all of them at once.

use crate::chance::{Chance, PATIENCE};
use crate::client::{Answer, Http, Request};
use crate::history::{Attempt, History, Intent, Operation, Outcome, Relation};
use reqwest::Method;
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Barrier, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use touchline_testkit::eventually;

/// How many clients there are.
const CLIENTS: u64 = 6;
/// How long a patient client waits for an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How often something is asked for again before it is left open.
const ATTEMPTS_MAX: usize = 400;
/// How many of the latest posts a client remembers, to look at them again.
const REMEMBERED_MAX: usize = 5;
/// How long a client uses a token that it got by signing in: half as long as it lasts.
const SIGNED_IN: Duration = Duration::from_mins(5);
const PASSWORD: &str = "correct horse battery";

/// Clients that work until they are told to finish.
pub(crate) struct Crowd {
    pub(crate) history: Arc<History>,
    stop: CancellationToken,
    clients: JoinSet<()>,
    phase: watch::Sender<Phase>,
    /// Where all clients meet at the end of a rest, and of a look.
    together: Arc<Barrier>,
}

/// What all clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Whatever comes to their minds.
    Work,
    /// Nothing.
    Rest,
    /// They look at what they wrote last.
    Look,
}

/// A post as its author wrote it last, and the token by which it is read.
struct Remembered {
    post: String,
    caption: String,
    token: String,
}

/// What the clients know of each other: who there is, and which posts.
#[derive(Default)]
struct Town {
    people: Vec<String>,
    /// Posts with their authors.
    posts: Vec<(String, String)>,
}

struct Client {
    http: Http,
    chance: Chance,
    history: Arc<History>,
    town: Arc<Mutex<Town>>,
    stop: CancellationToken,
    me: String,
    email: String,
    token: String,
    signed_in_at: Instant,
    /// Own posts, with the tag of the version that was seen last.
    mine: Vec<(String, String)>,
    remembered: Vec<Remembered>,
    phase: watch::Receiver<Phase>,
    together: Arc<Barrier>,
}

impl Crowd {
    /// Sends clients to the `nodes` of an API, and returns when all of them have signed up.
    pub(crate) async fn gather(nodes: &[&str], chance: &mut Chance) -> Self {
        let mut crowd = Self {
            history: Arc::default(),
            stop: CancellationToken::new(),
            clients: JoinSet::new(),
            phase: watch::Sender::new(Phase::Work),
            together: Arc::new(Barrier::new(usize::try_from(CLIENTS).unwrap() + 1)),
        };
        let town = Arc::<Mutex<Town>>::default();
        for _ in 0..CLIENTS {
            let client = Client {
                http: Http::to(nodes),
                chance: chance.deal(),
                history: Arc::clone(&crowd.history),
                town: Arc::clone(&town),
                stop: crowd.stop.clone(),
                me: String::new(),
                email: String::new(),
                token: String::new(),
                signed_in_at: Instant::now(),
                mine: Vec::new(),
                remembered: Vec::new(),
                phase: crowd.phase.subscribe(),
                together: Arc::clone(&crowd.together),
            };
            crowd.clients.spawn(client.work());
        }
        crowd.acknowledges(CLIENTS * 3).await;
        crowd
    }

    /// Waits until `more` requests have gone out: a moment that has nothing to do with where the
    /// servers are.
    pub(crate) async fn sends(&self, more: u64) {
        let target = self.history.sent() + more;
        eventually(PATIENCE, "the clients go on", || async {
            self.history.sent() >= target
        })
        .await;
    }

    /// Waits until `more` requests have been acknowledged: all is well again.
    pub(crate) async fn acknowledges(&self, more: u64) {
        let target = self.history.acknowledged() + more;
        eventually(PATIENCE, "commands are acknowledged", || async {
            self.history.acknowledged() >= target
        })
        .await;
    }

    /// Lets every client finish what it is at; from then on nobody writes.
    pub(crate) async fn rests(&self) {
        self.all(Phase::Rest).await;
    }

    /// Lets every client look at what it wrote last, while nobody writes, and then go on. What is
    /// not there goes into the history as a complaint.
    pub(crate) async fn looks(&self) {
        self.all(Phase::Look).await;
        self.phase.send_replace(Phase::Work);
    }

    async fn all(&self, phase: Phase) {
        self.phase.send_replace(phase);
        let met = timeout(PATIENCE * 2, self.together.wait()).await;
        met.unwrap_or_else(|_elapsed| panic!("the clients do not come together to {phase:?}"));
    }

    /// Lets every client finish what it is at, and returns what happened.
    pub(crate) async fn finish(self) -> Arc<History> {
        self.stop.cancel();
        self.clients.join_all().await;
        self.history
    }
}

impl Client {
    async fn work(mut self) {
        while self.me.is_empty() && !self.stop.is_cancelled() {
            self.settle_in().await;
        }
        while !self.stop.is_cancelled() {
            if self.signed_in_at.elapsed() > SIGNED_IN {
                self.sign_in().await;
            }
            let phase = *self.phase.borrow_and_update();
            match phase {
                Phase::Work => {
                    self.act().await;
                    let pause = self.chance.number(0..8);
                    sleep(Duration::from_millis(pause)).await;
                    continue;
                }
                Phase::Rest => {}
                Phase::Look => self.look().await,
            }
            self.together.wait().await;
            let stop = self.stop.clone();
            stop.run_until_cancelled(self.phase.changed()).await;
        }
    }

    /// Signs up, and in.
    async fn settle_in(&mut self) {
        let handle = format!("p{}", &self.chance.id().simple().to_string()[..20]);
        let Some(signed_up) = self.sign_up(&handle).await else {
            return;
        };
        self.email = format!("{handle}@example.org");
        if self.sign_in().await {
            self.me = signed_up.text("user_id");
            self.town().people.push(self.me.clone());
        }
    }

    /// False when it was not possible for long.
    async fn sign_in(&mut self) -> bool {
        let body = json!({"email": self.email, "password": PASSWORD});
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let request = Request::post("/v1/sessions", body.clone(), self.chance.id());
            let answer = self
                .http
                .send(&request, self.chance.id(), None, ANSWER)
                .await;
            if let Some(answer) = answer.filter(|answer| answer.status == 201) {
                self.token = answer.text("access_token");
                self.signed_in_at = Instant::now();
                return true;
            }
            sleep(Duration::from_millis(50)).await;
        }
        false
    }

    async fn sign_up(&mut self, handle: &str) -> Option<Answer> {
        let body = json!({
            "email": format!("{handle}@example.org"), "password": PASSWORD, "handle": handle,
            "display_name": handle, "sport": "football", "gender": "undisclosed", "role": "fan",
        });
        let request = Request::post("/v1/accounts", body, self.chance.id());
        self.carry_through("sign up", Intent::Create, &request)
            .await
    }

    async fn act(&mut self) {
        match self.chance.number(0..100) {
            0..30 => self.publish().await,
            30..45 => self.comment().await,
            45..65 => self.like().await,
            65..80 => self.follow().await,
            80..90 => self.change("edit", Method::PATCH).await,
            90..93 => self.change("delete", Method::DELETE).await,
            93..95 => {
                let handle = format!("q{}", &self.chance.id().simple().to_string()[..20]);
                self.sign_up(&handle).await;
            }
            95..97 => self.reuse_a_key().await,
            _ => self.ask_for_what_is_not_theirs().await,
        }
    }

    async fn publish(&mut self) {
        let caption = format!("Post {}", self.chance.id());
        let request = Request::post("/v1/posts", json!({"caption": caption}), self.chance.id());
        let Some(answer) = self
            .carry_through("publish", Intent::Create, &request)
            .await
        else {
            return;
        };
        let (post, tag) = (answer.text("post_id"), answer.etag.unwrap_or_default());
        self.mine.push((post.clone(), tag));
        let me = self.me.clone();
        self.town().posts.push((post.clone(), me));
        let token = answer.token.unwrap_or_default();
        if self.chance.hits(30) {
            self.read_back(&post, &caption, &token).await;
        }
        self.remember(post, caption, token);
    }

    fn remember(&mut self, post: String, caption: String, token: String) {
        if self.remembered.len() == REMEMBERED_MAX {
            self.remembered.remove(0);
        }
        self.remembered.push(Remembered {
            post,
            caption,
            token,
        });
    }

    /// Reads what was written last, as often as it takes until there is an answer.
    async fn look(&mut self) {
        for it in std::mem::take(&mut self.remembered) {
            let deadline = Instant::now() + PATIENCE;
            while !self.read_back(&it.post, &it.caption, &it.token).await {
                if Instant::now() > deadline {
                    self.history
                        .complain(format!("post {} is not to be read", it.post));
                    break;
                }
                sleep(Duration::from_millis(50)).await;
            }
            self.remembered.push(it);
        }
    }

    /// Whoever wrote and sends the token sees what was written, or hears that it takes longer.
    /// False when there is no answer yet.
    async fn read_back(&mut self, post: &str, caption: &str, token: &str) -> bool {
        let path = format!("/v1/posts/{post}");
        let Some(read) = self
            .http
            .read(&path, self.chance.id(), &self.token, token)
            .await
        else {
            return false;
        };
        if read.status >= 500 {
            return false;
        }
        let is_seen = read.status == 200 && read.text("caption") == caption;
        if !is_seen {
            self.history.complain(format!(
                "post {post} read back: {} {}",
                read.status, read.body
            ));
        }
        true
    }

    async fn comment(&mut self) {
        let Some((post, _)) = self.any_post() else {
            return;
        };
        let text = format!("Comment {}", self.chance.id());
        let path = format!("/v1/posts/{post}/comments");
        let request = Request::post(path, json!({"text": text}), self.chance.id());
        self.carry_through("comment", Intent::Create, &request)
            .await;
    }

    async fn like(&mut self) {
        let Some((post, _)) = self.any_post() else {
            return;
        };
        let wanted = self.chance.hits(60);
        let relation = Relation {
            pair: [post.clone(), self.me.clone()],
            wanted,
        };
        self.relate(format!("/v1/posts/{post}/like"), relation)
            .await;
    }

    async fn follow(&mut self) {
        let people = self.town().people.clone();
        let Some(other) = self.chance.one_of(&people).cloned() else {
            return;
        };
        if other == self.me {
            let path = format!("/v1/users/{other}/follow");
            let request = Request::new(Method::PUT, path);
            self.carry_through("follow oneself", Intent::Nonsense, &request)
                .await;
            return;
        }
        let wanted = self.chance.hits(60);
        let relation = Relation {
            pair: [self.me.clone(), other.clone()],
            wanted,
        };
        self.relate(format!("/v1/users/{other}/follow"), relation)
            .await;
    }

    async fn relate(&mut self, path: String, relation: Relation) {
        let method = if relation.wanted {
            Method::PUT
        } else {
            Method::DELETE
        };
        let request = Request::new(method, path);
        self.carry_through("relate", Intent::Relate(relation), &request)
            .await;
    }

    /// Changes an own post as it was seen last.
    async fn change(&mut self, what: &'static str, method: Method) {
        let Some((post, tag)) = self.chance.one_of(&self.mine).cloned() else {
            return;
        };
        let is_edit = method == Method::PATCH;
        let mut request = Request::new(method, format!("/v1/posts/{post}"));
        request.if_match = Some(tag);
        let caption = format!("Edit {}", self.chance.id());
        request.body = is_edit.then(|| json!({"caption": caption}));
        let answer = self.carry_through(what, Intent::Change, &request).await;
        // What became of it is open, or somebody was faster: that post is left alone from now on.
        self.mine.retain(|(mine, _)| *mine != post);
        self.remembered.retain(|it| it.post != post);
        if let Some(Answer {
            etag: Some(tag),
            token,
            ..
        }) = answer
            && is_edit
        {
            self.remember(post.clone(), caption, token.unwrap_or_default());
            self.mine.push((post, tag));
        }
    }

    /// The same key for another post is refused, if the first one was published.
    async fn reuse_a_key(&mut self) {
        let key = self.chance.id();
        let caption = format!("First {}", self.chance.id());
        let request = Request::post("/v1/posts", json!({"caption": caption}), key);
        if self
            .carry_through("publish", Intent::Create, &request)
            .await
            .is_some()
        {
            let caption = format!("Second {}", self.chance.id());
            let request = Request::post("/v1/posts", json!({"caption": caption}), key);
            self.carry_through("reuse a key", Intent::Nonsense, &request)
                .await;
        }
    }

    async fn ask_for_what_is_not_theirs(&mut self) {
        let Some((post, author)) = self.any_post() else {
            return;
        };
        if author == self.me {
            return;
        }
        let mut request = Request::new(Method::PATCH, format!("/v1/posts/{post}"));
        request.if_match = Some("\"post-1\"".to_owned());
        request.body = Some(json!({"caption": "Mine now"}));
        self.carry_through("edit another's post", Intent::Nonsense, &request)
            .await;
    }

    /// Sends until there is an answer that says what became of it, mostly: some give up early.
    /// Returns the answer that acknowledges it.
    async fn carry_through(
        &mut self,
        what: &str,
        intent: Intent,
        request: &Request,
    ) -> Option<Answer> {
        let mut operation = Operation {
            what: format!("{what}: {} {}", request.method, request.path),
            intent,
            attempts: Vec::new(),
        };
        let mut acknowledged = None;
        let gives_up_early = self.chance.hits(10);
        for _ in 0..ATTEMPTS_MAX {
            let id = self.chance.id();
            let within = if self.chance.hits(3) {
                Duration::from_millis(self.chance.number(1..30))
            } else {
                ANSWER
            };
            let bearer = (!self.token.is_empty()).then_some(self.token.as_str());
            self.history.sends();
            let answer = self.http.send(request, id, bearer, within).await;
            let outcome = answer.as_ref().map_or(Outcome::Unknown, Answer::outcome);
            self.history.hears(&outcome);
            let is_open = outcome == Outcome::Unknown;
            operation.attempts.push(Attempt {
                request: id,
                outcome,
            });
            if !is_open {
                acknowledged = answer.filter(|answer| answer.status < 300);
                break;
            }
            if gives_up_early {
                break;
            }
            sleep(Duration::from_millis(self.chance.number(5..50))).await;
        }
        self.history.add(operation);
        acknowledged
    }

    fn any_post(&mut self) -> Option<(String, String)> {
        let recent: Vec<_> = self.town().posts.iter().rev().take(40).cloned().collect();
        self.chance.one_of(&recent).cloned()
    }

    fn town(&self) -> std::sync::MutexGuard<'_, Town> {
        self.town.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
