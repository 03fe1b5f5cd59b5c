-- A page of the feed of $1: at most $4 posts before ($2, $3), asking at most $5 authors or looking at
-- $6 posts.
--
-- Scalar subqueries where joins would do: the planner keeps their order, entry by entry.
--
-- A page of what is `written` has everything down to its last entry, but for what was published
-- before the reader followed its author, by authors who are merged when read, and by the reader.
-- When less than a page is written, all authors are asked: first for their newest post, which
-- says down to where a page goes, and then for the others down to there.

WITH written AS MATERIALIZED (
    SELECT timeline.published_at, timeline.post_id
    FROM posts.timeline
    WHERE timeline.user_id = $1 AND (timeline.published_at, timeline.post_id) < ($2, $3)
      AND (SELECT posts.visibility <> 'only_me'
                  AND (SELECT true FROM posts.follows
                       WHERE follows.follower_id = $1
                         AND follows.followee_id = posts.author_id)
                  AND (SELECT true FROM posts.authors
                       WHERE authors.user_id = posts.author_id)
           FROM posts.posts WHERE posts.post_id = timeline.post_id)
    ORDER BY timeline.published_at DESC, timeline.post_id DESC
    LIMIT $4
), written_down AS MATERIALIZED (
    SELECT CASE WHEN count(*) = $4 THEN min(written.published_at)
                ELSE '-infinity' END AS published_at
    FROM written
), asked AS MATERIALIZED (
    SELECT merged.author_id
    FROM (SELECT follows.followee_id AS author_id FROM posts.follows
          WHERE follows.follower_id = $1 AND follows.at_read
          UNION ALL
          SELECT follows.followee_id FROM posts.follows
          WHERE follows.follower_id = $1 AND NOT follows.at_read
            AND follows.begun_at >= (SELECT written_down.published_at FROM written_down)
    ) AS merged
    LIMIT $5::bigint + 1
), too_many AS MATERIALIZED (
    SELECT count(*) > $5::bigint AS ask FROM asked
), found AS MATERIALIZED (
    SELECT seen.published_at, seen.post_id
    FROM (SELECT own.published_at, own.post_id, own.author_id
          FROM posts.posts AS own
          WHERE own.visibility <> 'only_me'
            AND own.published_at >= (SELECT written_down.published_at FROM written_down)
            AND (own.published_at, own.post_id) < ($2, $3)
          ORDER BY own.published_at DESC, own.post_id DESC
          LIMIT $6::bigint) AS seen
    WHERE (SELECT too_many.ask FROM too_many)
      AND (SELECT (SELECT true FROM posts.authors
                   WHERE authors.user_id = follows.followee_id)
           FROM posts.follows
           WHERE follows.follower_id = $1 AND follows.followee_id = seen.author_id)
    ORDER BY seen.published_at DESC, seen.post_id DESC
    LIMIT $4
), seen_down AS MATERIALIZED (
    SELECT seen.published_at, seen.post_id
    FROM (SELECT own.published_at, own.post_id
          FROM posts.posts AS own
          WHERE own.visibility <> 'only_me'
            AND own.published_at >= (SELECT written_down.published_at FROM written_down)
            AND (own.published_at, own.post_id) < ($2, $3)
          ORDER BY own.published_at DESC, own.post_id DESC
          OFFSET $6::bigint - 1 LIMIT 1) AS seen
    WHERE (SELECT too_many.ask FROM too_many) AND (SELECT count(*) FROM found) < $4
), newest AS MATERIALIZED (
    SELECT author.author_id, author.visibility, latest.published_at
    FROM (SELECT asked.author_id, seen.visibility
          FROM asked CROSS JOIN (VALUES ('public'), ('followers')) AS seen (visibility)
          WHERE NOT (SELECT too_many.ask FROM too_many)
            AND (SELECT true FROM posts.authors WHERE authors.user_id = asked.author_id)
          UNION ALL
          SELECT $1::uuid, own.visibility
          FROM (VALUES ('public'), ('followers'), ('only_me')) AS own (visibility)
    ) AS author
    CROSS JOIN LATERAL (
        SELECT own.published_at
        FROM posts.posts AS own
        WHERE own.author_id = author.author_id AND own.visibility = author.visibility
          AND own.published_at >= (SELECT written_down.published_at FROM written_down)
          AND (own.published_at, own.post_id) < ($2, $3)
        ORDER BY own.published_at DESC, own.post_id DESC
        LIMIT 1) AS latest
), newest_down AS MATERIALIZED (
    SELECT coalesce((SELECT newest.published_at FROM newest
                     ORDER BY newest.published_at DESC OFFSET $4 - 1 LIMIT 1),
                    written_down.published_at) AS published_at
    FROM written_down
), chosen AS (
    SELECT source.published_at, source.post_id
    FROM (
        SELECT written.published_at, written.post_id FROM written
        UNION
        SELECT found.published_at, found.post_id FROM found
        UNION
        SELECT latest.published_at, latest.post_id
        FROM newest CROSS JOIN LATERAL (
            SELECT own.published_at, own.post_id
            FROM posts.posts AS own
            WHERE own.author_id = newest.author_id AND own.visibility = newest.visibility
              AND own.published_at >= (SELECT newest_down.published_at FROM newest_down)
              AND (own.published_at, own.post_id) < ($2, $3)
            ORDER BY own.published_at DESC, own.post_id DESC
            LIMIT $4) AS latest
        WHERE newest.published_at >= (SELECT newest_down.published_at FROM newest_down)
    ) AS source
    WHERE NOT EXISTS (SELECT FROM seen_down
                      WHERE (source.published_at, source.post_id)
                            < (seen_down.published_at, seen_down.post_id))
    ORDER BY source.published_at DESC, source.post_id DESC
    LIMIT $4
)
SELECT seen_down.published_at AS "seen_at?", seen_down.post_id AS "seen_id?",
       shown.post_id AS "post_id?", shown.author_id AS "author_id?",
       shown.handle AS "handle?", shown.display_name AS "display_name?",
       shown.caption AS "caption?", shown.category, shown.device, shown.tags AS "tags?",
       shown.visibility AS "visibility?", shown.published_at AS "published_at?",
       shown.edited_at, shown.version AS "version?", shown.like_count AS "like_count?",
       shown.comment_count AS "comment_count?",
       EXISTS (SELECT FROM posts.likes
               WHERE likes.post_id = shown.post_id AND likes.user_id = $1)
           AS "liked_by_viewer!"
FROM (SELECT) AS page
LEFT JOIN seen_down ON true
LEFT JOIN (
    SELECT posts.*, authors.handle, authors.display_name
    FROM chosen
    JOIN posts.posts ON posts.post_id = chosen.post_id
    JOIN posts.authors ON authors.user_id = posts.author_id
) AS shown ON true
ORDER BY shown.published_at DESC, shown.post_id DESC
