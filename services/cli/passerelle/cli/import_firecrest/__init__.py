"""`passerelle config import-firecrest`: turns a FirecREST v2 configuration file into ours.

`site` converts the file, `staging` its data transfer, `section_reader` sees to it that no key is skipped silently, and
`host_keys` asks the login nodes for what FirecREST does not know.

May import: the models of our configuration, to check the result.
"""
