"""`passerelle config check`: is a configuration file correct, and does the site that it describes work?

`file_check` reads the file and all that it names; with `--connect`, `site_check` tries the site and `system_check` each
of its systems. What there is to say about a section, or to try, stands in the section (`findings`, `trials`), not here.

May import: the ground that all services share, `cli.up` to complete a site's file, and the gateway's health probe.
"""
