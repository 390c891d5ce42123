"""Addresses of mail, also as people write them so that no machine reads them: gil [at] example [dot] com, 골뱅이."""

from __future__ import annotations

_OPEN, _SHUT = r"[\[({<]", r"[\])}>]"
_AT = rf" ?@ ?| ?{_OPEN} ?(?:at|AT|At|@|골뱅이) ?{_SHUT} ?| ?골뱅이 ?"
_DOT = rf"\.| ?{_OPEN} ?(?:dot|DOT|Dot|점|\.) ?{_SHUT} ?"
_USER, _LABEL = "[A-Za-z0-9._%+-]+", "[A-Za-z0-9가-힣-]+"
# Words alone are an address only with both of them, or with a house where people have theirs.
_SPOKEN = rf"{_USER} (?:at|AT|골뱅이) (?:[A-Za-z0-9-]+ (?:dot|DOT|점) ){{1,3}}(?:com|net|org|edu|kr|COM|NET|ORG|EDU|KR)"
_HOUSES = r"(?:gmail|naver|daum|hanmail|kakao|nate|hotmail|outlook|yahoo|icloud)\.(?:com|net|co\.kr)"
ADDRESS = rf"{_USER}(?:{_AT})(?:{_LABEL}(?:{_DOT}))+[A-Za-z]{{2,}}|{_SPOKEN}(?:[^0-9A-Za-z]|$)|{_USER} (?:at|AT) {_HOUSES}"
SUSPECT = rf"[@＠]|골뱅이|{_OPEN} ?(?:at|AT|At)| (?:at|AT) [A-Za-z0-9-]+(?:\.| (?:dot|DOT|점) )"
