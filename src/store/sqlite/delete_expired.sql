DELETE FROM tower_oidc_records WHERE key IN (
    SELECT key FROM tower_oidc_records WHERE expires_at <= (
        SELECT ?1 - CASE
            WHEN abs(?1 - CASE last_writer WHEN ?3 THEN previous_written_at ELSE last_written_at END) <= 60000 THEN 0
            ELSE 30 * 86400000
        END
        FROM tower_oidc_state
    )
    LIMIT ?2
)
