"""The conformance suite: what every selector must hold, ours and anybody's, tried on a small pool through a real store.

In: a selector's name or MODULE:NAME with settings. Out: findings in words (`check_selector`). Above `starting`; called
by the command line and by the tests."""
