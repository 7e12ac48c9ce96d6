"""What ops do to campaigns, codes, members and unions, whatever asks for it: HTTP or the command line."""
