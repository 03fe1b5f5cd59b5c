-- The read model `users`: who people are, and who follows whom. Names are unqualified: the runner
-- says in which schema they lie.

CREATE TABLE users (
    user_id         uuid              NOT NULL,
    handle          text COLLATE "C"  NOT NULL,
    display_name    text              NOT NULL,
    role            text              NOT NULL,
    sport           text              NOT NULL,
    gender          text              NOT NULL,
    -- The role with the fields that it demands, as in the event.
    role_details    jsonb             NOT NULL,
    bio             text              NOT NULL DEFAULT '',
    location        text              NOT NULL DEFAULT '',
    locale          text,
    time_zone       text,
    status          text              NOT NULL,
    registered_at   timestamptz       NOT NULL,
    -- The sequence of the profile's last event; 0 while the profile has none.
    profile_version bigint            NOT NULL DEFAULT 0,
    -- How many rows of `follows` name this person as followee, and as follower.
    follower_count  bigint            NOT NULL,
    following_count bigint            NOT NULL,
    CONSTRAINT users_pkey PRIMARY KEY (user_id),
    CONSTRAINT users_handle_key UNIQUE (handle)
-- The counts change often: room for a new row version on the same page spares the indexes.
) WITH (fillfactor = 80);

CREATE TABLE follows (
    follower_id uuid        NOT NULL,
    followee_id uuid        NOT NULL,
    -- Of the event that began it: the order of the lists of followers and followed.
    position    bigint      NOT NULL,
    followed_at timestamptz NOT NULL,
    CONSTRAINT follows_pkey PRIMARY KEY (follower_id, followee_id)
);
CREATE INDEX follows_by_followee ON follows (followee_id, position);
CREATE INDEX follows_by_follower ON follows (follower_id, position);

-- Who was erased, so that what comes later by a slow process leaves nothing behind. While it is not
-- swept, follows by and of this person are left.
CREATE TABLE erased (
    user_id     uuid     NOT NULL,
    -- How far the rows are gone that are left behind it.
    swept       boolean  NOT NULL DEFAULT false,
    sweep_of    smallint NOT NULL DEFAULT 0,
    sweep_after text,
    CONSTRAINT erased_pkey PRIMARY KEY (user_id)
);
CREATE INDEX erased_unswept ON erased (user_id) WHERE NOT swept;
