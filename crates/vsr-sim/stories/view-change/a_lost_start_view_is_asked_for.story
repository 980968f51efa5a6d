# D5: START-VIEW is never acknowledged; a backup that missed it asks by GET-VIEW when it hears the
# new primary.
cluster 3
given crash r0
given block r1->r2 start-view
given timeout r1 primary-silence
given timeout r2 primary-silence
given settle
expect r1 primary
expect r2 status view-change
unblock r1->r2 start-view
timeout r1 heartbeat
deliver r1->r2 commit
deliver r2->r1 get-view
deliver r1->r2 start-view
expect r2 status normal
expect r2 view 1
