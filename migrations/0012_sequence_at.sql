-- Where in an aggregate a position lies, so that its history is read by page and not by stream
-- (ADR-0024): the sequence of its last event at or before the position, 0 when there is none. Within an
-- aggregate positions rise with the sequence (L2), which has no gap: halving finds it.
CREATE FUNCTION log.sequence_at(p_aggregate_type text, p_aggregate_id text, p_position bigint)
RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_low  bigint := 0;
    v_high bigint;
    v_mid  bigint;
BEGIN
    v_high := coalesce((SELECT e.sequence FROM log.events e
                        WHERE e.aggregate_type = p_aggregate_type AND e.aggregate_id = p_aggregate_id
                        ORDER BY e.sequence DESC LIMIT 1), 0);
    WHILE v_low < v_high LOOP
        v_mid := (v_low + v_high + 1) / 2;
        IF (SELECT e.position FROM log.events e
            WHERE e.aggregate_type = p_aggregate_type AND e.aggregate_id = p_aggregate_id
              AND e.sequence = v_mid) <= p_position THEN
            v_low := v_mid;
        ELSE
            v_high := v_mid - 1;
        END IF;
    END LOOP;
    RETURN v_low;
END
$$;
