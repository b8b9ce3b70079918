"""Known devices of users, whose failed attempts are counted separately."""
