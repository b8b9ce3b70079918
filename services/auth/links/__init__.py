"""Links of one use that are sent by mail."""
