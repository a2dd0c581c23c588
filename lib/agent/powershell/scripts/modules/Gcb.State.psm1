<#
.SYNOPSIS
    Small records on the host that tie what Hyper-V made to the tag of the run that asked for it.
.DESCRIPTION
    Hyper-V has no documented place for a run's tag on a snapshot collection, a reference point collection or a shadow
    copy set. A record is written before the effect (the intent) and again after it (the result), so that after a crash
    the same question finds the same thing. Losing the folder loses tags and measured times, never data.
    Source: this project; hyperv.md section 3 ("persist ... with its id before anything else").
#>
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

# The folder of one kind of record, made when missing.
function Get-GcbStateFolder {
    [CmdletBinding()]
    [OutputType([string])]
    param(
        [Parameter(Mandatory = $true)] [string] $StateDirectory,
        [Parameter(Mandatory = $true)]
        [ValidateSet('checkpoints', 'reference-points', 'storage-snapshots', 'mounts')] [string] $Kind
    )
    $folder = [System.IO.Path]::Combine($StateDirectory, $Kind)
    [void][System.IO.Directory]::CreateDirectory($folder)
    return $folder
}

# File name of a tag: hexadecimal UTF-8, so that no tag can name another folder; long ones by their SHA-256, since paths of
# Windows PowerShell end at 260 characters. The agent's recordFileName makes the same name.
function ConvertTo-GcbFileName {
    [CmdletBinding()]
    [OutputType([string])]
    param([Parameter(Mandatory = $true)] [string] $Tag)
    $bytes = [System.Text.Encoding]::UTF8.GetBytes($Tag)
    if ($bytes.Length -gt 48) { $bytes = [System.Security.Cryptography.SHA256]::Create().ComputeHash($bytes) }
    return ([System.BitConverter]::ToString($bytes)).Replace('-', '').ToLowerInvariant()
}

# Writes a record in one step: a reader sees the old one or the new one, never half of it.
function Save-GcbRecord {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [string] $StateDirectory,
        [Parameter(Mandatory = $true)] [string] $Kind,
        [Parameter(Mandatory = $true)] [string] $Tag,
        [Parameter(Mandatory = $true)] [System.Collections.Specialized.OrderedDictionary] $Record
    )
    $folder = Get-GcbStateFolder -StateDirectory $StateDirectory -Kind $Kind
    $path = [System.IO.Path]::Combine($folder, (ConvertTo-GcbFileName -Tag $Tag) + '.json')
    $draft = $path + '.new'
    $json = ConvertTo-Json -InputObject $Record -Depth 12 -Compress
    [System.IO.File]::WriteAllText($draft, $json, (New-Object -TypeName System.Text.UTF8Encoding -ArgumentList $false))
    if ([System.IO.File]::Exists($path)) { [System.IO.File]::Delete($path) }
    [System.IO.File]::Move($draft, $path)
}

# All records of a kind; a draft that lost its final name in a crash counts as the record.
function Get-GcbRecord {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [string] $StateDirectory,
        [Parameter(Mandatory = $true)] [string] $Kind
    )
    $folder = Get-GcbStateFolder -StateDirectory $StateDirectory -Kind $Kind
    foreach ($draft in [System.IO.Directory]::GetFiles($folder, '*.json.new')) {
        $path = $draft.Substring(0, $draft.Length - 4)
        if ([System.IO.File]::Exists($path)) { [System.IO.File]::Delete($draft) }
        else { [System.IO.File]::Move($draft, $path) }
    }
    foreach ($path in [System.IO.Directory]::GetFiles($folder, '*.json')) {
        $text = [System.IO.File]::ReadAllText($path)
        try { ConvertFrom-Json -InputObject $text }
        catch { [System.IO.File]::Move($path, $path + '.unreadable') }
    }
}

# Forgets a record. Gone already is fine.
function Remove-GcbRecord {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [string] $StateDirectory,
        [Parameter(Mandatory = $true)] [string] $Kind,
        [Parameter(Mandatory = $true)] [string] $Tag
    )
    $folder = Get-GcbStateFolder -StateDirectory $StateDirectory -Kind $Kind
    [System.IO.File]::Delete([System.IO.Path]::Combine($folder, (ConvertTo-GcbFileName -Tag $Tag) + '.json'))
}

Export-ModuleMember -Function @(
    'Get-GcbStateFolder',
    'ConvertTo-GcbFileName',
    'Save-GcbRecord',
    'Get-GcbRecord',
    'Remove-GcbRecord'
)
