"""Personal data and credentials in text, found by rule and put behind typed tags.

    kinds          what is told apart, and what counts as a secret
    rules          what a rule is: a pattern, what must hold beside it, and its budget
    credentials    keys of providers, tokens, private keys, passwords
    personal       e-mail and IP addresses, cards, IBANs
    phones         telephone numbers, as they are written in many countries
    identities     national identity and tax numbers
    papers         passports, licences, insurance numbers: beside their name
    own            rules of a project's own
    rulesets       the rules of a project, and which of them a text is worth trying
    finding        all rules over one text: spans that do not overlap
    known          what texts were redacted to
    fields         the parts of a call
    tags           the placeholder that stands for a value
    documents      JSON, and JSON inside of text

Pure, and linear in the text: patterns are RE2's, and every rule may look closely at so many places only.
"""
