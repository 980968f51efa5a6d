# r1 acknowledges op 1 in view 0, and its message is late: it arrives when r0 is primary again, in view 3. What
# r1 promised in view 0 is no promise of view 3: its log could be superseded before. (Paper, section 4.1;
# protocol.md 5.2, PREPARE-OK.)

cluster 3
given block r0->r1 prepare-ok
given block r2->r1 prepare-ok
given block r0->r2 prepare-ok
given block r1->r2 prepare-ok
given block r2->r0 prepare-ok
request c1 put x 1
deliver r0->r1 prepare
hold r1->r0 prepare-ok as m1
given block r1->r0 prepare-ok
given settle
given timeout r1 primary-silence
given timeout r2 primary-silence
given settle
expect r1 primary
given timeout r0 primary-silence
given timeout r2 primary-silence
given settle
expect r2 primary
given timeout r0 primary-silence
given timeout r1 primary-silence
given settle
expect r0 primary
expect r0 commit 0
unblock r1->r0
release m1
deliver r1->r0 prepare-ok
expect r0 commit 0
expect r0 ignored older-view
given run 2s
expect same-state *
expect r0 commit 1
