UPDATE tower_oidc_state SET last_version = last_version + 1,
    previous_written_at = CASE last_writer WHEN ?1 THEN previous_written_at ELSE last_written_at END,
    last_writer = ?1, last_written_at = ?2 RETURNING last_version
