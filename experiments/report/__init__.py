"""What a study ends in: tables and figures made from the rows."""
