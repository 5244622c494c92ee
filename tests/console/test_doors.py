"""What the pages refuse: forms of others, frames, too much; and what each answer tells browsers."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import requests

from tests.console.scene import ADMIN, Scene

COOKIE = {"reconciler-console": ADMIN}
LIMIT_S = 30


def get(url: str, **headers: str) -> requests.Response:
    return requests.get(
        url, cookies=COOKIE, headers=headers, timeout=LIMIT_S, allow_redirects=False
    )


def post(url: str, form: str | Mapping[str, str], **headers: str) -> requests.Response:
    return requests.post(
        url, data=form, cookies=COOKIE, headers=headers, timeout=LIMIT_S, allow_redirects=False
    )


def proof(url: str) -> str:
    return get(f"{url}/").text.split('name="proof" value="')[1].split('"')[0]


@pytest.mark.parametrize(
    "path", ["/", "/timeline", "/item/nobody", "/run/118/shop/web", "/static/console.js", "/no"]
)
def test_every_answer_is_for_itself_alone(url: str, path: str) -> None:
    """Nothing but our own files is run or drawn, nobody frames a page, and nothing is kept."""
    answer = get(f"{url}{path}")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    # Our own files, and they alone, have an address of their own for each of their contents.
    kept = "public, max-age=31536000, immutable" if "/static/" in path else "no-store"
    assert answer.headers["cache-control"] == kept
    assert answer.headers["referrer-policy"] in {"no-referrer", "same-origin"}
    assert ADMIN not in answer.text


HERE = {"Sec-Fetch-Site": "same-origin"}


@pytest.mark.parametrize(
    ("form", "headers", "status"),
    [
        ({"act": "suspend"}, HERE, 403),
        ({"act": "suspend", "proof": "0" * 64}, HERE, 403),
        ({"act": "suspend", "proof": "ours"}, {"Sec-Fetch-Site": "cross-site"}, 403),
        ({"act": "suspend", "proof": "ours"}, {"Sec-Fetch-Site": "same-site"}, 403),
        ({"act": "suspend", "proof": "ours"}, {"Sec-Fetch-Site": "none"}, 403),
        ({"act": "suspend", "proof": "ours"}, {}, 403),
        ({"act": "suspend", "proof": "ours"}, {"Origin": "https://evil.example"}, 403),
        ({"act": "suspend", "proof": "ours"}, {"Origin": "null"}, 403),
        ({"act": "own", "proof": "ours"}, HERE, 400),
        ("act=suspend&proof=ours&x=" + "y" * 70_000, HERE, 413),
        ("&".join(f"x{n}=1" for n in range(100)), HERE, 400),
        ({"act": "suspend", "proof": "ours"}, HERE, 200),  # asks first
        ({"act": "suspend", "proof": "ours", "sure": "yes"}, HERE, 303),
    ],
)
def test_a_form_of_others_does_nothing(
    url: str, scene: Scene, form: str | dict[str, str], headers: dict[str, str], status: int
) -> None:
    """Without the page's own proof, or from another place, a form is refused."""
    if isinstance(form, dict) and form.get("proof") == "ours":
        form = {**form, "proof": proof(url)}
    assert post(f"{url}/do", form, **headers).status_code == status
    assert len(scene.orders) == (1 if status == 303 else 0)


def test_a_browser_that_names_its_origin_is_believed(url: str, scene: Scene) -> None:
    """An older browser says where a form comes from by Origin alone; that is enough."""
    origin = url.removesuffix("/console")
    form = {"act": "suspend", "name": "dns", "proof": proof(url), "back": "/console/item/dns"}
    answer = post(f"{url}/do", form, Origin=origin)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/item/dns")
    assert [order.name for _, order in scene.orders] == ["dns"]


@pytest.mark.parametrize(
    "back",
    ["https://evil.example/", "//evil.example", "/console//e.example", "/console/\\e", ""],
)
def test_nobody_is_led_elsewhere(url: str, back: str) -> None:
    """After a form one is within the console, whatever it says."""
    form = {"token": ADMIN, "back": back}
    answer = post(f"{url}/login", form, **HERE)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie


@pytest.mark.parametrize("secure", [True, False])
def test_a_token_that_came_over_tls_goes_over_tls(
    url: str,
    scene: Scene,
    secure: bool,  # noqa: FBT001 - one of the two cases
) -> None:
    """Where people come over TLS that a proxy ends, the cookie is for TLS alone."""
    scene.secure = secure
    cookie = post(f"{url}/login", {"token": ADMIN}, **HERE).headers["set-cookie"]
    assert ("Secure" in cookie) is secure


def test_a_log_in_from_elsewhere_is_refused(url: str) -> None:
    """Another site cannot log somebody in as somebody else."""
    answer = post(f"{url}/login", {"token": ADMIN}, **{"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_what_leads_to_the_console(url: str) -> None:
    """The address itself, and that of a deployment in the API's answers, lead to pages."""
    root = url.removesuffix("/console")
    assert get(f"{root}/").headers["location"] == "/console/"
    assert get(f"{root}/acme/web/prod/deployments/7").headers["location"] == (
        "/console/run/7/acme/web/prod"
    )


@pytest.mark.parametrize("path", ["/log/77/shop/api", "/text/77/shop/api", "/do", "/logout"])
def test_without_a_token_there_is_nothing(url: str, path: str) -> None:
    """Logs and forms, too, are for those who are logged in."""
    method = "POST" if path in {"/do", "/logout"} else "GET"
    answer = requests.request(method, f"{url}{path}", timeout=LIMIT_S)
    assert answer.status_code == 401
    assert "Pulumi operation" not in answer.text
