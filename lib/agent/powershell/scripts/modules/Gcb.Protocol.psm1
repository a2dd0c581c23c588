<#
.SYNOPSIS
    The wire protocol between the agent and its scripts: one base64 JSON argument in, one JSON line out.
.DESCRIPTION
    The answer is pure ASCII, whatever code page the console has, and carries the id of the call, so that text which
    anything else writes to the output can never be taken for it.
    Source: this project; docs/hyperv-commands.md.
#>
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

# Runs the body of a verb with its decoded input and writes the one line of the answer.
function Invoke-GcbVerb {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [ValidatePattern('^[A-Za-z0-9+/]+=*$')] [string] $Payload,
        [Parameter(Mandatory = $true)] [ValidatePattern('^[0-9a-f]+$')] [string] $Call,
        [Parameter(Mandatory = $true)] [scriptblock] $Body
    )
    try {
        $text = [System.Text.Encoding]::UTF8.GetString([System.Convert]::FromBase64String($Payload))
        $request = ConvertFrom-Json -InputObject $text
        $value = & $Body $request
        $answer = [ordered]@{ call = $Call; ok = $true; value = $value }
    }
    catch {
        $answer = [ordered]@{ call = $Call; ok = $false; error = (ConvertTo-GcbErrorDocument -ErrorRecord $_) }
    }
    Write-GcbLine -Answer $answer
}

# Writes the answer as one ASCII line; characters outside of it become JSON escapes.
function Write-GcbLine {
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)] [System.Collections.Specialized.OrderedDictionary] $Answer)
    $json = ConvertTo-Json -InputObject $Answer -Depth 12 -Compress
    $ascii = [regex]::Replace($json, '[^\x20-\x7e]', {
            param([System.Text.RegularExpressions.Match] $Match)
            '\u{0:x4}' -f [int][char]$Match.Value
        })
    [Console]::Out.WriteLine($ascii)
}

# Ends the verb with an error that says what happened, to which thing, and what to do next.
function Stop-GcbVerb {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [string] $Code,
        [Parameter(Mandatory = $true)] [string] $Message,
        [Parameter(Mandatory = $true)] [string] $Remedy,
        [string] $Subject = '',
        [long] $WmiReturnValue = -1,
        [long] $JobErrorCode = -1,
        [string] $JobErrorText = ''
    )
    $exception = New-Object -TypeName System.InvalidOperationException -ArgumentList $Message
    $exception.Data['gcb'] = [ordered]@{
        code           = $Code
        message        = $Message
        subject        = $Subject
        wmiReturnValue = $WmiReturnValue
        jobErrorCode   = $JobErrorCode
        jobErrorText   = $JobErrorText
        remedy         = $Remedy
    }
    throw $exception
}

# The document of an error record: ours as it was raised, any other by its category.
function ConvertTo-GcbErrorDocument {
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)] [System.Management.Automation.ErrorRecord] $ErrorRecord)
    $data = $ErrorRecord.Exception.Data
    if ($null -ne $data -and $data.Contains('gcb')) { return $data['gcb'] }
    $category = [string]$ErrorRecord.CategoryInfo.Category
    $code = 'HV_UNEXPECTED'
    if ($category -eq 'PermissionDenied' -or $category -eq 'SecurityError') { $code = 'HV_ACCESS_DENIED' }
    if ($category -eq 'ObjectNotFound') { $code = 'HV_NOT_FOUND' }
    [ordered]@{
        code           = $code
        message        = [string]$ErrorRecord.Exception.Message
        subject        = [string]$ErrorRecord.FullyQualifiedErrorId
        wmiReturnValue = -1
        jobErrorCode   = -1
        jobErrorText   = [string]$ErrorRecord.ScriptStackTrace
        remedy         = 'Look at the text of the error and at the Hyper-V-VMMS event log of the host.'
    }
}

# Whether a caught error is ours and has this code.
function Test-GcbErrorCode {
    [CmdletBinding()]
    [OutputType([bool])]
    param(
        [Parameter(Mandatory = $true)] [System.Management.Automation.ErrorRecord] $ErrorRecord,
        [Parameter(Mandatory = $true)] [string] $Code
    )
    $document = ConvertTo-GcbErrorDocument -ErrorRecord $ErrorRecord
    return ($document['code'] -eq $Code)
}

# Milliseconds since 1970-01-01 UTC. Times travel as numbers: PowerShell 7 would turn ISO text into dates, 5.1 would not.
function ConvertTo-GcbUnixMs {
    [CmdletBinding()]
    [OutputType([long])]
    param([Parameter(Mandatory = $true)] [datetime] $Time)
    return ([System.DateTimeOffset]$Time.ToUniversalTime()).ToUnixTimeMilliseconds()
}

Export-ModuleMember -Function @(
    'Invoke-GcbVerb',
    'Stop-GcbVerb',
    'Test-GcbErrorCode',
    'ConvertTo-GcbErrorDocument',
    'ConvertTo-GcbUnixMs'
)
