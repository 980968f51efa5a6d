# Storage.md and cli.md: the digest covers all of the state, so one changed byte on one replica shows.
cluster 3
given request c1 put x 1
given settle
given timeout r0 heartbeat
given settle
expect same-state *
flip r2 state
expect not same-state *
