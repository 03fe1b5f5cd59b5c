-- The read model `posts`: posts with their likes and comments, and the home feed. It repeats of
-- people what it shows, so that one schema answers. Names are unqualified: the runner says in which
-- schema they lie.

CREATE TABLE authors (
    user_id      uuid             NOT NULL,
    handle       text COLLATE "C" NOT NULL,
    display_name text             NOT NULL,
    CONSTRAINT authors_pkey PRIMARY KEY (user_id)
);

-- How large an author's circle is. Once it has been larger than the threshold, `at_read` is true
-- for ever: the author's later posts are not written into `timeline` but merged when a feed is read.
CREATE TABLE audiences (
    author_id      uuid    NOT NULL,
    -- Follows begun less follows ended. A follower who is erased stays in it, so that the crossing
    -- does not depend on when the rows behind a tombstone go.
    follower_count bigint  NOT NULL,
    at_read        boolean NOT NULL,
    CONSTRAINT audiences_pkey PRIMARY KEY (author_id)
) WITH (fillfactor = 80);

CREATE TABLE follows (
    follower_id uuid        NOT NULL,
    followee_id uuid        NOT NULL,
    -- The followee's, from `audiences`.
    at_read     boolean     NOT NULL,
    -- Of the event that began it, and when that was recorded: what the followee published before is
    -- not in the follower's `timeline`.
    position    bigint      NOT NULL,
    begun_at    timestamptz NOT NULL,
    CONSTRAINT follows_pkey PRIMARY KEY (follower_id, followee_id)
);
CREATE INDEX follows_by_followee ON follows (followee_id, follower_id);
CREATE INDEX follows_at_read ON follows (follower_id, followee_id) WHERE at_read;
CREATE INDEX follows_by_beginning ON follows (follower_id, begun_at);

CREATE TABLE posts (
    post_id       uuid        NOT NULL,
    author_id     uuid        NOT NULL,
    caption       text        NOT NULL,
    category      text,
    device        text,
    tags          text[]      NOT NULL,
    visibility    text        NOT NULL,
    published_at  timestamptz NOT NULL,
    -- Of the event that published it.
    position      bigint      NOT NULL,
    edited_at     timestamptz,
    -- The sequence of the post's last event.
    version       bigint      NOT NULL,
    -- How many rows of `likes`, and of `comments` with an author, belong to this post.
    like_count    bigint      NOT NULL,
    comment_count bigint      NOT NULL,
    CONSTRAINT posts_pkey PRIMARY KEY (post_id)
-- The counts change often: room for a new row version on the same page spares the indexes.
) WITH (fillfactor = 70);
-- By visibility first: nobody's page reads past what they may not see.
CREATE INDEX posts_by_author ON posts (author_id, visibility, published_at, post_id);
-- For feeds of those who follow too many to ask each of them.
CREATE INDEX posts_by_time ON posts (published_at, post_id) INCLUDE (author_id)
    WHERE visibility <> 'only_me';

-- What was taken away, so that a like or a comment that comes later leaves nothing behind. While it
-- is not swept, likes and comments of it are left.
CREATE TABLE deleted_posts (
    post_id     uuid     NOT NULL,
    -- How far the rows are gone that are left behind it.
    swept       boolean  NOT NULL DEFAULT false,
    sweep_of    smallint NOT NULL DEFAULT 0,
    sweep_after text,
    CONSTRAINT deleted_posts_pkey PRIMARY KEY (post_id)
);
CREATE INDEX deleted_posts_unswept ON deleted_posts (post_id) WHERE NOT swept;

CREATE TABLE likes (
    post_id  uuid        NOT NULL,
    user_id  uuid        NOT NULL,
    -- Of the event that began it: the order of the list of those who like.
    position bigint      NOT NULL,
    liked_at timestamptz NOT NULL,
    CONSTRAINT likes_pkey PRIMARY KEY (user_id, post_id)
);
CREATE INDEX likes_by_position ON likes (post_id, position);

CREATE TABLE comments (
    comment_id   uuid        NOT NULL,
    post_id      uuid        NOT NULL,
    parent_id    uuid,
    -- None, and an empty text, where the author was erased: answers keep their place below it.
    author_id    uuid,
    text         text        NOT NULL,
    commented_at timestamptz NOT NULL,
    -- The positions of the comments from the thread's first one down to this one: the order in
    -- which a thread is read. A reply below the greatest depth stands beside the one it answers.
    path         bigint[]    NOT NULL,
    CONSTRAINT comments_pkey PRIMARY KEY (comment_id)
);
CREATE INDEX comments_by_path ON comments (post_id, path);
CREATE INDEX comments_by_author ON comments (author_id, comment_id) WHERE author_id IS NOT NULL;

-- The home feeds, written ahead: the newest entries (`FEED_ENTRIES_MAX`) of all pairs of a reader and
-- a post that was published while the reader followed the author and the author's `at_read` was false.
-- An entry stays when the post is deleted or hidden or the author unfollowed: whoever reads it looks.
CREATE TABLE timeline (
    user_id      uuid        NOT NULL,
    published_at timestamptz NOT NULL,
    post_id      uuid        NOT NULL,
    CONSTRAINT timeline_pkey PRIMARY KEY (user_id, published_at, post_id)
);

-- How many rows of `timeline` each reader has.
CREATE TABLE feeds (
    user_id     uuid   NOT NULL,
    entry_count bigint NOT NULL,
    CONSTRAINT feeds_pkey PRIMARY KEY (user_id)
) WITH (fillfactor = 80);

-- Who was erased, so that what comes later by a slow process leaves nothing behind. While it is not
-- swept, posts, likes, comments, follows or a feed of this person are left.
CREATE TABLE erased (
    user_id     uuid     NOT NULL,
    -- How far the rows are gone that are left behind it.
    swept       boolean  NOT NULL DEFAULT false,
    sweep_of    smallint NOT NULL DEFAULT 0,
    sweep_after text,
    CONSTRAINT erased_pkey PRIMARY KEY (user_id)
);
CREATE INDEX erased_unswept ON erased (user_id) WHERE NOT swept;
